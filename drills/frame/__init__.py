"""What drills share: processes to be killed, those who use the service, what is compared, and the report."""
