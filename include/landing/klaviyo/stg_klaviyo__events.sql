-- Landing table of klaviyo/events: derived from the stream config and
-- the source schema by `lotus-lake landing`; edit those, not this file.
CREATE TABLE IF NOT EXISTS "lakehouse"."staging"."stg_klaviyo__events" (
    "_airbyte_raw_id" VARCHAR,
    "_airbyte_extracted_at" TIMESTAMP WITH TIME ZONE,
    "_airbyte_meta" STRUCT(sync_id BIGINT, changes STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[]),
    "_airbyte_generation_id" BIGINT,
    "id" VARCHAR,
    "type" VARCHAR,
    "links" STRUCT("self" VARCHAR),
    "datetime" TIMESTAMP WITH TIME ZONE,
    "attributes" STRUCT("uuid" VARCHAR, "datetime" TIMESTAMP WITH TIME ZONE, "timestamp" BIGINT, "event_properties" VARCHAR),
    "relationships" STRUCT("metric" STRUCT("data" STRUCT("id" VARCHAR, "type" VARCHAR), "links" STRUCT("self" VARCHAR, "related" VARCHAR)), "profile" STRUCT("data" STRUCT("id" VARCHAR, "type" VARCHAR), "links" STRUCT("self" VARCHAR, "related" VARCHAR)), "attributions" STRUCT("data" STRUCT("id" VARCHAR, "type" VARCHAR)[], "links" STRUCT("self" VARCHAR, "related" VARCHAR))),
    "_lake_rescued" STRUCT(path VARCHAR, value VARCHAR, expected VARCHAR, arrived VARCHAR)[],
    "year" BIGINT,
    "month" VARCHAR,
    "day" VARCHAR
);
