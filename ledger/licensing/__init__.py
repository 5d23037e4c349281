"""What a license allows: terms, the entitlement decision, the license card. All of it pure."""
