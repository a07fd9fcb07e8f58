"""What the chapters alone use: exercises, claims, published weights. It changes with the pages."""
