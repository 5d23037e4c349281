"""The index: contract events followed into tables that can be asked about any past block."""
