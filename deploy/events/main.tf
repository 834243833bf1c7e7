# Events of the bucket: a queue, and the notifications that S3 sends to it. See docs/deployment.md.
#
# A bucket has one notification configuration: this replaces what it has. If there is one already, add the
# queue to it instead, or use EventBridge or SNS in between: Lotus Lake reads what they send to the queue too.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "bucket" {
  description = "Bucket of the raw files."
  type        = string
}

variable "raw_prefix" {
  description = "Prefix of the raw files, as in LAKE_RAW_URI, ending in a slash."
  type        = string
  default     = "raw/"
}

variable "queue_name" {
  description = "Name of the queue; the one that deploy/policies/sqs-events.json grants."
  type        = string
  default     = "lake-events"
}

data "aws_caller_identity" "current" {}

data "aws_s3_bucket" "raw" {
  bucket = var.bucket
}

resource "aws_sqs_queue" "events" {
  name = var.queue_name
  # An event is a hint: one that is older than the poll interval says nothing that a poll has not seen.
  message_retention_seconds  = 7200
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 30
  sqs_managed_sse_enabled    = true
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "OnlyThisBucketSends"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.events.arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [data.aws_s3_bucket.raw.arn]
    }

    # The name of a deleted bucket can become another account's.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.url
  policy    = data.aws_iam_policy_document.queue.json
}

resource "aws_s3_bucket_notification" "events" {
  bucket = data.aws_s3_bucket.raw.id

  queue {
    queue_arn     = aws_sqs_queue.events.arn
    filter_prefix = var.raw_prefix
    # An overwrite stream waits for the deletion of the older generation.
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
  }

  # S3 sends a test event at once.
  depends_on = [aws_sqs_queue_policy.events]
}

output "queue_url" {
  description = "LAKE_EVENTS_QUEUE."
  value       = aws_sqs_queue.events.url
}
