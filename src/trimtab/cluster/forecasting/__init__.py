"""forecast: what a series will be, with intervals whose coverage was measured; and seasonal quantiles for `scale`."""
