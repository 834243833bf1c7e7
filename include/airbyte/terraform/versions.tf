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

provider "airbyte" {
  server_url    = "${trimsuffix(var.airbyte_url, "/")}/api/public/v1/"
  client_id     = var.airbyte_client_id
  client_secret = var.airbyte_client_secret
}
