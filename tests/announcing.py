"""A bucket that announces its objects to a queue, as in production."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import boto3

from tests.servers import SECRET, S3Server


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of SQS.

    Attributes:
        url: Its URL.
        client: Of SQS.
    """

    url: str
    client: Any

    def send(self, body: Any) -> None:
        """Send a message; what is no text is sent as JSON."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.client.send_message(QueueUrl=self.url, MessageBody=text)

    def announce(self, bucket: str, *keys: str) -> None:
        """Say that objects have come, whether they have or not."""
        self.send(
            {"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": k}}} for k in keys]}
        )

    def counts(self) -> tuple[int, int]:
        """How many messages can be received, and how many have been and were not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        visible, hidden = (int(answer["Attributes"][name]) for name in names)
        return visible, hidden


def make_queue(server: S3Server, name: str) -> Queue:
    """Make an empty queue, with the name of one that was deleted if need be."""
    client = boto3.client(
        "sqs",
        endpoint_url=server.access.endpoint_url,
        region_name=server.access.region,
        aws_access_key_id=server.access.access_key_id,
        aws_secret_access_key=SECRET,
    )
    return Queue(client.create_queue(QueueName=name)["QueueUrl"], client)


def announce_objects(bucket: str, client: Any, queue: Queue) -> None:
    """Let the bucket tell the queue of its objects; S3 sends a test event then."""
    names = ["QueueArn"]
    answer = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)
    notification = {
        "QueueArn": answer["Attributes"]["QueueArn"],
        "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
    }
    client.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [notification]}
    )
