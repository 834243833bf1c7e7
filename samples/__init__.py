"""Sample data: the Parquet files that Airbyte would have left behind, and the right answers.

`generate` simulates a Shopify shop and a Klaviyo account, lets Airbyte sync each of them four times
a day for some days, and returns every file in order of arrival, together with the rows that each
table must hold in the end.

    history = generate()
    write_files(history.files, "s3://landing/raw", client)
    history.expected("fct_sales")

With every seed and at every scale a history contains what happens in real life. `History.scenarios`
gives the keys under the name in brackets.

* [backfill] The first sync of the orders writes at least twelve parts, out of step: part_10 appears
  before part_9.
* Records change over several syncs: one order is paid, then fulfilled, then cancelled; customers'
  counts grow.
* [refunded_twice] One order gets back 113.49 and, two days later, 98.94: returns of 212.43, in two
  files.
* [catch_up_in_time, late_file] A catch-up of orders starts at 23:55 and still writes into
  yesterday's folder after today's first files. Its late files hold archived orders that no other
  file holds, and older states (an older `_airbyte_extracted_at`, other values) of orders that
  today's file already brought.
* [failed_attempt, retried_attempt] A retry repeats rows: same records, same sync_id, new
  `_airbyte_raw_id`, and for half of them the same `_airbyte_extracted_at`.
* [same_millisecond] Two states of one order with one `_airbyte_extracted_at`; the newer state
  arrives first.
* [same_update_twice] Two rows of one customer that only `_airbyte_raw_id` tells apart; the winner
  arrives first.
* An empty sync writes no file: most runs have nothing for flows, lists, metrics and campaigns.
* [zero_rows] A file of the flows without a single row.
* [new_column] From the fourth day the orders have `currency`, in the middle of the columns.
* [new_nested_field] From the fourth day the profiles have `attributes.location.latitude`.
* [nulls] Erased customers, in a file of their own: ids, dates of change, and nulls.
* [nulled_value] A customer whose `total_spent` could not be converted, told by
  `_airbyte_meta.changes`.
* Many rows share one millisecond of `_airbyte_extracted_at`; strings hold accents, other scripts,
  quotes, backslashes and line breaks; some orders are tests, some have no customer, some refunds
  have no transaction.

File names differ as they do between installations: `part_{n}.parquet`, restarting each day; for
events `{date}_{epoch ms}_{n}.parquet`; for profiles a UUID; for campaigns a fixed name, so that a
second file of a day becomes `part_0.parquet-1`.
"""

from samples.history import History, SampleFile, generate
from samples.writing import write_files

__all__ = ["History", "SampleFile", "generate", "write_files"]
