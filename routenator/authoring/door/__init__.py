"""``domain init``: from an API's description to a domain that runs.

init.py            the command as a function; starts here
read.py, forms.py, openapi.py, server.py, pythonfile.py, pythonworker.py, tools.py   read a source, whatever its form,
                   as a list of tools
dialect.py         schemas of other dialects as plain JSON schema without references
select.py          which tools become functions, under which names
shapes.py, sources.py, banks.py, freetext.py, numbervalues.py   values for parameters, by their schemas, names and
                   descriptions
english.py, names.py, paths.py, phrases.py   what a function does, in words: from its name, path or description
connectors.py, patterns.py         the grammars that say it
build.py, domainfiles.py, upgrade.py           the domain's parts, its files, and what to keep of an earlier one
words/             word lists
"""
