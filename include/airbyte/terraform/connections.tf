# One connection per source that has a catalog. A catalog without a source in local.source_ids fails
# the plan, by name.

resource "airbyte_connection" "to_lake" {
  for_each = local.connection_streams

  name           = "${each.key} to the lake"
  source_id      = local.source_ids[each.key]
  destination_id = airbyte_destination.raw.destination_id
  status         = "active"

  # The folder of the source, and how `lotus-lake backfill` finds the connection.
  namespace_definition = "custom_format"
  namespace_format     = each.key

  configurations = {
    streams = each.value
  }

  schedule = contains(keys(var.schedules), each.key) ? {
    schedule_type   = "cron"
    cron_expression = var.schedules[each.key]
    } : {
    schedule_type   = "manual"
    cron_expression = null
  }

  # New columns come by a change of the stream config, not by themselves.
  non_breaking_schema_updates_behavior = "ignore"

  lifecycle {
    # A new connection has no cursors: it would send everything from the start.
    prevent_destroy = true
  }
}
