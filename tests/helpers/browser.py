"""Pages opened in a real browser, without a network."""


def open_page(browser, address: str, **context):
    """A page opened without a network, and the list of its errors: of scripts, and of what could not be loaded."""
    opened = browser.new_context(offline=True, **context).new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    # A page that is left may still have been loading.
    opened.on(
        "requestfailed", lambda request: errors.append(request.url) if request.failure != "net::ERR_ABORTED" else None
    )
    opened.goto(address)
    return opened, errors
