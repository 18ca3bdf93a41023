"""What segmentation and depth share: labelled images, cached features, heads and their training."""
