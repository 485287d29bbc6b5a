-- Sends each new radiograph to the modality "covidcxr" of orthanc.json, except for the results of the node itself.

local RADIOGRAPHY = { CR = true, DX = true, RG = true }

function OnStoredInstance(instance, tags, metadata, origin)
  if origin.RequestOrigin == 'DicomProtocol' and origin.RemoteAet == 'COVIDCXR' then
    return
  end
  if RADIOGRAPHY[tags.Modality] and tags.Manufacturer ~= 'covidcxr' then
    SendToModality(instance, 'covidcxr')
  end
end
