"""Where rclpy keeps the logger's class and its levels."""
