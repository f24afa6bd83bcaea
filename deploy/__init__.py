"""How the platform is run: images and compose as files, `deploy.local` as the launcher for one machine."""
