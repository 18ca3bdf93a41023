"""What a person reads of a search: `report.html`, its tables, and two searches side by side."""
