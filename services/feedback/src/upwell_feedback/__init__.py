"""What pairs are asked, and what they answer, seen by whom they say."""
