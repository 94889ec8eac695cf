"""The JSON objects of answers, as types: the code that makes them and the OpenAPI document share each definition."""
