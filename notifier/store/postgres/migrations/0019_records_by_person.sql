-- Find the records of a person and a training. The index is created again, with another column, when no first sweep is
-- under way (see tables/records_by_person).

DROP INDEX IF EXISTS records_by_person;
