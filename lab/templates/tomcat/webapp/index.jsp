<%@ page language="java" contentType="text/html;charset=UTF-8" %>
<% session.setAttribute("Blog", "MeXP"); %>
<html>
<head><title>@NODE@</title></head>
<body>
<h1><font color="@COLOUR@">@HEADING@</h1>
<table align="centre" border="1">
<tr>
<td>Session ID</td>
<td><%= session.getId() %></td>
</tr>
<tr>
<td>Created on</td>
<td><%= session.getCreationTime() %></td>
</tr>
</table>
URL: <%= request.getRequestURL() %>
URI: <%= request.getRequestURI() %>
</body>
</html>
