-- Landing table of klaviyo/flows: derived from the stream config and
-- the source schema by `lotus-lake landing`; edit those, not this file.
CREATE TABLE IF NOT EXISTS "lakehouse"."staging"."stg_klaviyo__flows" (
    "_airbyte_raw_id" VARCHAR,
    "_airbyte_extracted_at" TIMESTAMP WITH TIME ZONE,
    "_airbyte_meta" STRUCT(sync_id BIGINT, changes STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[]),
    "_airbyte_generation_id" BIGINT,
    "id" VARCHAR,
    "type" VARCHAR,
    "links" STRUCT("self" VARCHAR),
    "updated" TIMESTAMP WITH TIME ZONE,
    "attributes" STRUCT("name" VARCHAR, "status" VARCHAR, "created" TIMESTAMP WITH TIME ZONE, "updated" TIMESTAMP WITH TIME ZONE, "archived" BOOLEAN, "trigger_type" VARCHAR),
    "relationships" STRUCT("tags" STRUCT("data" STRUCT("id" VARCHAR, "type" VARCHAR)[], "links" STRUCT("self" VARCHAR, "related" VARCHAR)), "flow_actions" STRUCT("data" STRUCT("id" VARCHAR, "type" VARCHAR)[], "links" STRUCT("self" VARCHAR, "related" VARCHAR))),
    "_lake_rescued" STRUCT(path VARCHAR, value VARCHAR, expected VARCHAR, arrived VARCHAR)[],
    "year" BIGINT,
    "month" VARCHAR,
    "day" VARCHAR
);
