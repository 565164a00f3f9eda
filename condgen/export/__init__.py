"""From run folders to what others take up: folders of models for the Hugging Face hub, files of samples, events."""
