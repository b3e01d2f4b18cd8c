"""What is wrong with the input, told apart from what is wrong with the program."""

from av.error import FFmpegError


class UserError(ValueError):
    """Something that the user gave cannot be used: an option, a config, a file, a weight.

    The message is one line that names what is at fault and says what to do. Commands print it
    without a traceback; every error of this kind in tubedet is one of its subclasses.
    """


# Of a command, in every process; whatever else is raised is a fault of the program and keeps its
# traceback.
USER_ERRORS = (UserError, OSError, FFmpegError)


def message_of(error: object) -> str:
    """Return what an error says, in one line.

    Args:
        error: an exception or a text; of an error of the system, file and reason are taken.
    """
    if isinstance(error, (OSError, FFmpegError)) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split("\n"))
