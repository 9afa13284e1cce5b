"""What finished runs show: tables, statistics over seeds and questions, figures. Reads run directories only."""
