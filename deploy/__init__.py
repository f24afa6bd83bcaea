"""How the platform is run: images and compose as files, the launcher for one machine, what the images are made of."""
