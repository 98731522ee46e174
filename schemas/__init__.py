"""The JSON Schemas of events, contexts and customers, as data. Read by `headwater.validation`."""
