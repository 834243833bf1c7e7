"""Files of the checkout: the dbt manifest, and schemas discovered from the sources."""
