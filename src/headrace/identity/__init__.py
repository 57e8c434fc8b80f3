"""Who is calling and what they may do: tenants, apps, tokens, roles."""
