"""What gateway and services share over HTTP: problems, typed endpoints, OpenAPI, pagination, ETags, health, metrics."""
