"""The page of `cmask web`: photo and words in a browser, masks back. Only `page` and `launch` know gradio."""
