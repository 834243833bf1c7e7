"""Files of the checkout: the dbt manifest, schemas discovered from the sources."""
