locals {
  s3_definition_id = "4816b78f-1489-44c1-9060-4b19d5fa9362"

  # ${...} with two $ is the connector's, not Terraform's. The namespace is the source's name (see
  # connections.tf), so that keys are {raw_prefix}/{source}/{stream}/year=YYYY/month=MM/day=DD/.
  path_format = "$${NAMESPACE}/$${STREAM_NAME}/year=$${YEAR}/month=$${MONTH}/day=$${DAY}/"

  # The job and the start of its attempt: part numbers alone begin again when a folder was emptied,
  # and an object would come again under an old name, with other rows (see on_overwrite).
  file_name_pattern = "{sync_id}_{timestamp}_{part_number}{format_extension}"

  s3_keys = var.s3_access_key_id == null ? {} : {
    access_key_id     = var.s3_access_key_id
    secret_access_key = var.s3_secret_access_key
  }
  s3_endpoint = var.s3_endpoint == null ? {} : { s3_endpoint = var.s3_endpoint }
}

resource "airbyte_destination" "raw" {
  name          = "lotus-lake raw files"
  workspace_id  = var.workspace_id
  definition_id = local.s3_definition_id

  configuration = jsonencode(merge(local.s3_keys, local.s3_endpoint, {
    s3_bucket_name    = var.bucket
    s3_bucket_path    = var.raw_prefix
    s3_bucket_region  = var.bucket_region
    s3_path_format    = local.path_format
    file_name_pattern = local.file_name_pattern
    format = {
      format_type       = "Parquet"
      compression_codec = "ZSTD"
    }
  }))
}
