-- The lines that go with the next message. They stay marked in their buffers until it is sent.
local M = {}

local namespace = vim.api.nvim_create_namespace('starcoder.attachments')

---@class starcoder.Attachment
---@field buffer integer
---@field mark integer the extmark around the lines, which follows the user's edits

---@type starcoder.Attachment[]
local attached = {}

--- Return the first and the last attached line, 0-based; nil if the buffer or the lines are gone.
---@param attachment starcoder.Attachment
---@return integer?, integer?
local function lines_of(attachment)
  if not vim.api.nvim_buf_is_loaded(attachment.buffer) then
    return nil
  end
  local options = { details = true }
  local mark = vim.api.nvim_buf_get_extmark_by_id(attachment.buffer, namespace, attachment.mark, options)
  local details = mark[3]
  if not details or details.invalid then
    return nil
  end
  return mark[1], details.end_row
end

---@return string
local function label(attachment, first, last)
  local path = vim.api.nvim_buf_get_name(attachment.buffer)
  local name = path == '' and '[No Name]' or vim.fs.basename(path)
  return ('%s:%d-%d'):format(name, first + 1, last + 1)
end

--- Call `visit` for each attachment whose lines still exist.
local function each(visit)
  for _, attachment in ipairs(attached) do
    local first, last = lines_of(attachment)
    if first then
      visit(attachment, first, last)
    end
  end
end

--- Attach lines of a buffer to the next message.
---@param buffer integer
---@param first integer 1-based
---@param last integer 1-based, inclusive
function M.add(buffer, first, last)
  local new_label = label({ buffer = buffer }, first - 1, last - 1)
  if vim.list_contains(M.labels(), new_label) then
    return
  end
  vim.api.nvim_set_hl(0, 'StarcoderAttached', { link = 'CursorLine', default = true })
  local last_line = vim.api.nvim_buf_get_lines(buffer, last - 1, last, false)[1] or ''
  local mark = vim.api.nvim_buf_set_extmark(buffer, namespace, first - 1, 0, {
    end_row = last - 1,
    end_col = #last_line,
    hl_group = 'StarcoderAttached',
    hl_eol = true,
    end_right_gravity = true,
  })
  table.insert(attached, { buffer = buffer, mark = mark })
end

function M.clear()
  for _, attachment in ipairs(attached) do
    if vim.api.nvim_buf_is_valid(attachment.buffer) then
      vim.api.nvim_buf_del_extmark(attachment.buffer, namespace, attachment.mark)
    end
  end
  attached = {}
end

--- Return the attached lines and remove them; `M.put_back` attaches them again.
---@return { [1]: integer, [2]: integer, [3]: integer }[]
function M.take()
  local taken = {}
  each(function(attachment, first, last)
    table.insert(taken, { attachment.buffer, first + 1, last + 1 })
  end)
  M.clear()
  return taken
end

---@param taken { [1]: integer, [2]: integer, [3]: integer }[]
function M.put_back(taken)
  for _, lines in ipairs(taken) do
    local buffer, first, last = unpack(lines)
    if vim.api.nvim_buf_is_loaded(buffer) and last <= vim.api.nvim_buf_line_count(buffer) then
      M.add(buffer, first, last)
    end
  end
end

--- Return what the user sees of the attachments, such as `example.py:1-2`.
---@return string[]
function M.labels()
  local labels = {}
  each(function(attachment, first, last)
    table.insert(labels, label(attachment, first, last))
  end)
  return labels
end

--- Return the attachments as parameters of `starcoder/chat/send`.
---@return table[]
function M.params()
  local params = {}
  each(function(attachment, first, last)
    local buffer = attachment.buffer
    local client = vim.lsp.get_clients({ name = require('starcoder.server').name, bufnr = buffer })[1]
    local lines = vim.api.nvim_buf_get_lines(buffer, first, last + 1, false)
    local param = { kind = 'selection', label = label(attachment, first, last) }
    if client then
      require('starcoder.server').send_changes(buffer)
      local encoding = client.offset_encoding
      local width = vim.lsp.util.character_offset(buffer, last, #lines[#lines], encoding)
      param.uri = vim.uri_from_bufnr(buffer)
      param.range = {
        start = { line = first, character = 0 },
        ['end'] = { line = last, character = width },
      }
    else -- The server has no text of buffers such as help pages.
      param.text = table.concat(lines, '\n')
    end
    table.insert(params, param)
  end)
  return params
end

return M
