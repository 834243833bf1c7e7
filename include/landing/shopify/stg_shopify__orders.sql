-- Landing table of shopify/orders: derived from the stream config and
-- the source schema by `lotus-lake landing`; edit those, not this file.
CREATE TABLE IF NOT EXISTS "lakehouse"."staging"."stg_shopify__orders" (
    "_airbyte_raw_id" VARCHAR,
    "_airbyte_extracted_at" TIMESTAMP WITH TIME ZONE,
    "_airbyte_meta" STRUCT(sync_id BIGINT, changes STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[]),
    "_airbyte_generation_id" BIGINT,
    "id" BIGINT,
    "created_at" TIMESTAMP WITH TIME ZONE,
    "updated_at" TIMESTAMP WITH TIME ZONE,
    "test" BOOLEAN,
    "total_line_items_price" DOUBLE,
    "total_discounts" DOUBLE,
    "total_shipping_price_set" STRUCT("shop_money" STRUCT("amount" DOUBLE, "currency_code" VARCHAR), "presentment_money" STRUCT("amount" DOUBLE, "currency_code" VARCHAR)),
    "total_tax" DOUBLE,
    "financial_status" VARCHAR,
    "fulfillment_status" VARCHAR,
    "cancelled_at" TIMESTAMP WITH TIME ZONE,
    "cancel_reason" VARCHAR,
    "customer" STRUCT("id" BIGINT, "email" VARCHAR, "phone" VARCHAR, "state" VARCHAR, "note" VARCHAR, "tags" VARCHAR, "currency" VARCHAR, "last_name" VARCHAR, "first_name" VARCHAR, "created_at" TIMESTAMP WITH TIME ZONE, "updated_at" TIMESTAMP WITH TIME ZONE, "tax_exempt" BOOLEAN, "verified_email" BOOLEAN, "multipass_identifier" VARCHAR, "admin_graphql_api_id" VARCHAR, "default_address" STRUCT("id" BIGINT, "customer_id" BIGINT, "first_name" VARCHAR, "last_name" VARCHAR, "company" VARCHAR, "address1" VARCHAR, "address2" VARCHAR, "city" VARCHAR, "province" VARCHAR, "country" VARCHAR, "zip" VARCHAR, "phone" VARCHAR, "name" VARCHAR, "province_code" VARCHAR, "country_code" VARCHAR, "country_name" VARCHAR, "default" BOOLEAN)),
    "_lake_rescued" STRUCT(path VARCHAR, value VARCHAR, expected VARCHAR, arrived VARCHAR)[],
    "year" BIGINT,
    "month" VARCHAR,
    "day" VARCHAR
);
