"""What readers see: layout, volumes, tables, versions."""
