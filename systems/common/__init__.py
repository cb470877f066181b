"""What knows no system: errors, images, JSON fields, sizes, schedules."""
