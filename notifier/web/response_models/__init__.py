"""The types of the JSON objects in answers, for the code that makes the objects and for the OpenAPI document."""
