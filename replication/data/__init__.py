"""What goes in: pictures, paintings, scenes, semantic maps and clips, each with its licence and hash."""
