# One source per folder of include/streams, called like it. The generic resource takes the
# connector's configuration as JSON; all of it is sensitive, and kept in state.
#
# The data source airbyte_connector_configuration would check the JSON while planning. It is not
# used: it would keep a second copy of the secrets in state, and ask a public registry.

locals {
  # Definition ids are the same on every Airbyte.
  shopify_definition_id = "9da77001-af33-4bcd-be46-6252bf9342b9"
  klaviyo_definition_id = "95e8cffd-b8c4-4039-968e-d32fb4a69bde"

  source_ids = {
    shopify = airbyte_source.shopify.source_id
    klaviyo = airbyte_source.klaviyo.source_id
  }
}

resource "airbyte_source" "shopify" {
  name          = "shopify"
  workspace_id  = var.workspace_id
  definition_id = local.shopify_definition_id

  configuration = jsonencode({
    shop       = var.shopify_shop
    start_date = var.shopify_start_date
    credentials = {
      auth_method  = "api_password"
      api_password = var.shopify_api_password
    }
  })
}

resource "airbyte_source" "klaviyo" {
  name          = "klaviyo"
  workspace_id  = var.workspace_id
  definition_id = local.klaviyo_definition_id

  configuration = jsonencode({
    api_key    = var.klaviyo_api_key
    start_date = var.klaviyo_start_date
  })
}
