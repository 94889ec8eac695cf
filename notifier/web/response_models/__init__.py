"""The types of the JSON objects in answers, shared by the code that makes the objects and the OpenAPI document."""
