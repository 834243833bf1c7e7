terraform {
  # 1.10 brought ephemeral variables, which are never written to state or plan.
  required_version = ">= 1.10"

  required_providers {
    airbyte = {
      source = "airbytehq/airbyte"
      # 1.1 removed the resources per connector; only the generic ones are left.
      version = "~> 1.1"
    }
  }

  # State holds the connectors' secrets in clear text: keep it in an encrypted backend with few
  # readers, such as:
  #
  # backend "s3" {
  #   bucket       = "my-terraform-state"
  #   key          = "lotus-lake/airbyte.tfstate"
  #   region       = "eu-central-1"
  #   encrypt      = true
  #   use_lockfile = true
  # }
}

locals {
  is_cloud   = startswith(var.airbyte_url, "https://api.airbyte.com")
  public_api = local.is_cloud ? "https://api.airbyte.com/v1" : "${trimsuffix(var.airbyte_url, "/")}/api/public/v1"
}

provider "airbyte" {
  server_url    = "${local.public_api}/"
  client_id     = var.airbyte_client_id
  client_secret = var.airbyte_client_secret
  # The default, /v1/applications/token of the host, is right for Airbyte Cloud only.
  token_url = "${local.public_api}/applications/token"
}
