"""One file for each kind of resource: what its documents hold and what each method does with them."""
