"""The JSON shapes of the contract: what comes in, checked strictly, and what goes out."""
