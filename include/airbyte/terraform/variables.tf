# Set them as TF_VAR_{name}, so that no secret is in a file. README.md tells which end up in state.

variable "airbyte_url" {
  description = "Address of the Airbyte server, as in the browser; https://api.airbyte.com for Airbyte Cloud."
  type        = string
  default     = "http://localhost:8000"

  validation {
    condition     = can(regex("^https?://[^/]+/?$", var.airbyte_url))
    error_message = "airbyte_url is http://host or https://host, without a path."
  }
}

variable "airbyte_client_id" {
  description = "Client id of an Airbyte application (Settings, Applications)."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "airbyte_client_secret" {
  description = "Client secret of that application."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "workspace_id" {
  description = "Airbyte workspace, from the address of its page."
  type        = string
}

variable "bucket" {
  description = "Bucket of the raw files: that of LAKE_RAW_URI."
  type        = string
}

variable "raw_prefix" {
  description = "Prefix of the raw files in the bucket: that of LAKE_RAW_URI."
  type        = string
  default     = "raw"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", var.raw_prefix))
    error_message = "raw_prefix is a path without slashes at its ends, such as raw."
  }
}

variable "bucket_region" {
  description = "Region of the bucket; empty for a store that has none."
  type        = string
  default     = "us-east-1"
}

variable "s3_endpoint" {
  description = "Address of an S3 store other than AWS, as Airbyte's workers reach it."
  type        = string
  default     = null
}

variable "s3_access_key_id" {
  description = "Key with which Airbyte writes; without it the workers' own role is used."
  type        = string
  sensitive   = true
  default     = null
}

variable "s3_secret_access_key" {
  description = "Secret of that key."
  type        = string
  sensitive   = true
  default     = null
}

variable "shopify_shop" {
  description = "Name of the shop: NAME in https://NAME.myshopify.com."
  type        = string
}

variable "shopify_api_password" {
  description = "Admin API access token of a custom app of the shop."
  type        = string
  sensitive   = true
}

variable "shopify_start_date" {
  description = "First day to read, YYYY-MM-DD."
  type        = string
  default     = "2020-01-01"

  validation {
    condition     = can(regex("^\\d{4}-\\d{2}-\\d{2}$", var.shopify_start_date))
    error_message = "shopify_start_date is YYYY-MM-DD."
  }
}

variable "klaviyo_api_key" {
  description = "Private API key of Klaviyo, with read access."
  type        = string
  sensitive   = true
}

variable "klaviyo_start_date" {
  description = "First moment to read, YYYY-MM-DDTHH:MM:SSZ."
  type        = string
  default     = "2020-01-01T00:00:00Z"

  validation {
    condition     = can(regex("^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$", var.klaviyo_start_date))
    error_message = "klaviyo_start_date is YYYY-MM-DDTHH:MM:SSZ."
  }
}

variable "schedules" {
  description = "When to sync each source, in Quartz cron (UTC); a source that is not named is synced by hand."
  type        = map(string)
  default = {
    shopify = "0 0 * * * ?"
    klaviyo = "0 30 * * * ?"
  }
}
