output "raw_uri" {
  description = "What LAKE_RAW_URI has to be."
  value       = "s3://${var.bucket}/${var.raw_prefix}"
}

output "connection_ids" {
  description = "Connection of each source, for `lotus-lake backfill --connection-id`."
  value       = { for source, connection in airbyte_connection.to_lake : source => connection.connection_id }
}
