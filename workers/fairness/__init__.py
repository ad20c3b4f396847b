"""Who of those that wait goes next: lanes, and tenants inside a lane."""
