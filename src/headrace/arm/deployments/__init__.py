"""Template deployments: a template's resources, put one after another as their caller."""
