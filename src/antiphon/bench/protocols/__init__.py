"""The protocols of live transcription, each as its clients speak it: written anew, without anything of the server's."""
