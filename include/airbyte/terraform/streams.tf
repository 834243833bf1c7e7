# What the connections send, from the files that `lotus-lake airbyte-catalog` derives from the stream
# configs. Nothing about streams is written down here.

locals {
  streams_dir = "${path.module}/../../streams"

  catalogs = {
    for name in fileset(local.streams_dir, "*/_catalog.json") :
    dirname(name) => jsondecode(file("${local.streams_dir}/${name}"))
  }

  connection_streams = {
    for source, catalog in local.catalogs : source => [
      for item in catalog.streams : {
        name         = item.stream.name
        sync_mode    = "${item.sync_mode}_${item.destination_sync_mode}"
        cursor_field = length(item.cursor_field) > 0 ? item.cursor_field : null
        primary_key  = item.primary_key
        selected_fields = [
          for field in item.selected_fields : { field_path = field.field_path }
        ]
      }
    ]
  }
}
