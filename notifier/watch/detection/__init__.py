"""The three detection methods (head poll, count check, sweep), and the rules for what an answer of the API proves.

`head_poll` reads the newest records. `evidence` decides what the records of an answer prove, `news` whether they are
news or history. `balance` compares the API's count with the known records. `search` finds the cause of a difference by
`bisection`. `scan` reads the whole list.
`absences` decides whether missing records are gone. `holds` holds back too many changes at once. `view` is the list
that the source requests. `renumbering` recognises known records under other keys. `first_contact` is the moment since
which new entries are news. `v1_records` tells equal records apart.
"""
