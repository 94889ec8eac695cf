"""The three detection methods (head poll, count check, sweep), and the rules for what an answer of the API proves.

- `head_poll` reads the newest records.
- `evidence` decides what an answer proves about each record.
- `news` decides whether an unknown record is news or history.
- `balance` compares the API's count with the known records.
- `search` finds the cause of a difference by `bisection`.
- `sweep` reads the whole list.
- `absences` decides whether missing records are gone.
- `holds` decides when there are too many changes at once.
- `view` is the list that the source requests.
- `renumbering` recognises known records under new keys.
- `first_contact` determines since when new entries are news.
- `v1_records` gives keys to records without ids.
"""
