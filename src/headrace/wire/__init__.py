"""HTTP as every surface shares it: error bodies, correlation ids, api-versions, addresses, limits."""
